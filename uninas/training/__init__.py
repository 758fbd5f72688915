"""Training: recipes, data, tasks and the loop; what says whether a network is any good."""
