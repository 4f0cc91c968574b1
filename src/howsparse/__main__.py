"""``python -m howsparse``."""

from howsparse.cli import main

if __name__ == "__main__":
    main()
