"""Skyfix: where was this photo taken? A geolocalization workbench."""

__version__ = "0.1.0"
