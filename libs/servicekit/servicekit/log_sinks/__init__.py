"""Sinks of logs that need a library of their own: imported when the settings name them."""
