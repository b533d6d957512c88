"""From a table and images, or scans of tissue arrays, to a store."""
