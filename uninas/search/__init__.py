"""Walking a space: plan -> search -> run -> report. A run is a folder that survives anything.

- `plan`: what is searched; settings, and the start, walk and budget they stand for; `objectives`: what is wanted
- `archive`: every architecture of a run by its number
- `strategy`, `strategies`: from whom to go on
- `asktell`: ask and tell in a window; the same candidates whatever the number of workers
- `tasks`: a candidate to score, and its result; `scoring`: how (the only file here that imports torch)
- `executor`, `workers`, `ray_executor`: who scores; this process, others, or a cluster
- `store`: the SQLite database of a run
- `run`: the loop; ask, score, store, tell
- `progress`, `loggers`: what a person or a machine sees meanwhile
- `top`, `plots`, `report`: what remains; the best architectures, tables, plots, a page
- `command`, `config`: `uninas search`, `uninas resume`; `inspect`, `tables`: `uninas status`, `top`, `compare`
"""
