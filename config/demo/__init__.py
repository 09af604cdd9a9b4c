"""`manage.py demo`: the main job in the terminal, from a goal to a landing that is proved here.

The command starts or joins a platform; `python -m config.demo` then runs with that platform's environment. It states
the goal and only reads the database, so that any process of the platform may be killed meanwhile.
"""
