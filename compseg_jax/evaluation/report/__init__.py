"""The report of an evaluation: its page, its figures and tables, and the folder that holds them."""
