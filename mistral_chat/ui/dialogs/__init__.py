"""Dialogs: one base, three generic ones, and a few with a body of their own."""
