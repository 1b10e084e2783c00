"""What does the work: dramatiq actors that claim users from the ledger and reconcile them."""
