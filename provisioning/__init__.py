"""The decision, pure: what a user should look like on the target and which one operation gets it there."""
