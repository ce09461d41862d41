"""`cryptostream` and `python -m cryptostream` are the same."""


def main() -> None:
    """Run the command line."""
    from cryptostream.cli.main import app

    app()


if __name__ == "__main__":
    main()
