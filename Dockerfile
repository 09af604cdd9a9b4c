# One image for all processes; the command decides which: the web server by default,
# `python -m dramatiq config.worker`, `python manage.py ticker`, `python manage.py discover`, `python -m agents.runner`.
FROM python:3.11-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /build
COPY pyproject.toml requirements.lock ./
# The lock holds the packages for development too. Take those of the product out of it: same versions, same
# hashes. A hash that the committed lock does not have stops the build.
RUN cp requirements.lock product.lock \
 && uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-header pyproject.toml -o product.lock \
 && ! grep -o 'sha256:[0-9a-f]*' product.lock | grep -vxF "$(grep -o 'sha256:[0-9a-f]*' requirements.lock)" \
 && uv venv --quiet /opt/waggle \
 && uv pip sync --quiet --require-hashes --python /opt/waggle/bin/python product.lock

FROM python:3.11-slim
# git serves the projects' repositories; bubblewrap confines what agents run.
RUN apt-get update \
 && apt-get install -y --no-install-recommends git bubblewrap \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home waggle \
 && install -d -o waggle -g waggle /data
COPY --from=build /opt/waggle /opt/waggle
WORKDIR /app
COPY manage.py ./
COPY config config
COPY tenants tenants
COPY sessions sessions
COPY agents agents
COPY swarms swarms
COPY templates templates
COPY static static
ENV PATH=/opt/waggle/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 WAGGLE_DATA_DIR=/data
USER 10001
VOLUME /data
EXPOSE 8000
CMD ["uvicorn", "config.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "10"]
