"""Runs as data, and what is made of them: studies, jobs, run folders, pictures, claims, reports, and times of peers."""
