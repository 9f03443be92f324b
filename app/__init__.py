"""Skyfix: where was this photo taken? A geolocalization workbench."""

__version__ = "0.1.0"
READER = "read-published-checkpoint"  # not for people: as what the importer starts the program
