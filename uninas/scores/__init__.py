"""Names of measures, without torch: aggregates, objectives, images."""
