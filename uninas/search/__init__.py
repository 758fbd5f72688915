"""Walking a space: plan -> strategy -> run -> report. A run is a folder that survives anything.

- `plan`: what is searched; settings, and the start, moves and budget they stand for
- `strategy`: which architecture comes next; ask and tell
- `scoring`: how good it is (the only file here that imports torch)
- `store`: the SQLite database of a run
- `run`: the loop; ask, score, store, tell
- `progress`: what a person or a machine sees meanwhile
- `report`: what remains; the best architecture, tables, plots
- `command`: `uninas search`
"""
