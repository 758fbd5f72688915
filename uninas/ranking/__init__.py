"""Ranking a table of networks by proxies: how well do scores at initialisation predict accuracies?

- `table`: architectures and their accuracies, from a CSV file
- `members`: from a cell of the table to a graph, for a data set; `nasbench201`: for cells of that benchmark
- `metrics`: Kendall's tau, Spearman's rho, nDCG, the best network found; bootstrap intervals
- `scoring`: one network scored by all proxies with all seeds
- `store`: the SQLite database of a ranking
- `run`: the loop; what is missing, score, store
- `events`: what a person or a machine sees meanwhile
- `report`: metrics as table, CSV, JSON and plots; `uninas.report.ranking` makes the page of them
"""
