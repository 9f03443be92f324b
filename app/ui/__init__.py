"""The window. Importing anything of it first makes PySide6 safe to use."""

from app.ui.lasting import keep_constants

keep_constants()
