"""`python -m edge_inspector` is `edge-inspector`."""

from edge_inspector.cli.main import app

if __name__ == "__main__":
    app()
