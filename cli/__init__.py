"""The scimpipe command."""
