"""One module a format: `read(path) -> Cube`, `read_spectra(path) -> Spectra`, or both."""
