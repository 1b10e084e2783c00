"""What scimpipe remembers, in Redis: the ledger of jobs, links, history, runs, gate; and the queue beside it."""
