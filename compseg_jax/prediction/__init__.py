"""`compseg predict`: extracted networks on files, folders and stores, into a folder of maps."""
