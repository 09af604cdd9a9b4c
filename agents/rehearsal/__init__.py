"""The rehearsal model: an OpenAI-compatible endpoint that plays a script for the sample project.

It thinks nothing. It is what the model gateway calls when no real model is set, and it says "rehearsal" in
every answer. Run it with `uvicorn agents.rehearsal.app:application`.
"""
