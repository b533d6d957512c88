"""`compseg view`: a local web page that shows activation maps, segmentations and the spectra behind them."""
