"""Images of any size, tile by tile: the map is that of the whole image."""
