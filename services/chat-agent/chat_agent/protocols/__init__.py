"""One log, several voices: each module here tells a run's events in the words of one kind of client."""
