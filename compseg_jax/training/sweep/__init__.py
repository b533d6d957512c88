"""Many trainings side by side: recipes × seeds × folds, gone on with after a stop, compared at the end."""
