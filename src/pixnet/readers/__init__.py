"""One file for each platform, and the manifest that lists samples of any of them."""
