"""Files, recipes, validation, names, progress, costs: tools of all rooms. Knows no data, models or torch."""
