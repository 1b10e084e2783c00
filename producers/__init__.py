"""What starts work: manual, changes, schedule, full sync, sweep. A producer finds ids and submits them."""
