"""Walking a space: plan -> search -> run -> report. A run is a folder that survives anything.

- `plan`: what is searched; settings, and the start, walk and budget they stand for; `starts`, `texts`: from which files
- `candidate`: the record of a candidate, from its proposal to the database
- `archive`: every architecture of a run by its number
- `strategy`, `strategies`, `surrogate`, `outside`: from whom to go on
- `front`, `ranks`: candidates ordered by several objectives
- `asktell`: ask and tell in a window; the same candidates whatever the number of workers
- `tasks`: a candidate to score, and its result
- `executor`, `ray_executor`: who scores; this process, others, or a cluster
- `store`: the SQLite database of a run
- `run`: the loop; ask, score, store, tell; `events`: what is told of it
- `kept`: a search in a folder, begun or gone on with; `join`: runs made of runs
- `opened`: a run as data; `top`: its best candidates; `compared`: runs side by side
"""
