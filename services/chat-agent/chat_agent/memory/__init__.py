"""Memory: what agents note of a person, and what a person sees, corrects and deletes."""
