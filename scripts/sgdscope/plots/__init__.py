"""Reads run folders and draws them: errors, files, runs, lines, style, panels, each of which builds on those before."""
