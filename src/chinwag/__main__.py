"""python -m chinwag"""

from chinwag.cli import app

if __name__ == "__main__":
    app()
