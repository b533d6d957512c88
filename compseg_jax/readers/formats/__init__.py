"""One module per format: `read(path) -> Cube`, `read_spectra(path) -> Spectra`, or both."""
