"""Backups and restores on real trees and real databases, over a real connection."""
