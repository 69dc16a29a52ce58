"""What every room uses and no room owns: files, recipes, progress, costs. Knows no data, models or torch."""
