"""The page of `mmunlearner compare`: a person asks the models of a run, and reads their answers side by side."""
