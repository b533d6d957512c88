"""THE model: networks with their preparation, scaling, axis and threshold, and what is made of them."""
