"""What the experiments share: options, settings, runs with progress, timings and reports.

A section imports from here and never from another section.
"""
