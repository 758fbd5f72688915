"""What search, ranking and score share: database, worker processes, scorer, progress, process habits."""
