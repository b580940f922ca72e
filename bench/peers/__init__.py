"""What somebody would put in the core's place: each answers the same auctions on a book at rest.

    book.py      the book, the bids and the exact rule in plain form: read from the market once
    c_same.py    the core's own search, price and slot-taking in C, on the core's own tables
    c_scan.py    a vectorised scan of the model's offers in C
    numpy_scan.py, polars_frames.py    the same scan in NumPy; filters over one frame per model
    sql.py       one question in SQL: SQLite, DuckDB, PostgreSQL
    run.py       ask them, time them, compare every answer with the core's

They get no events, no money, no time, no slots to take back and no reasons to find, and no bid that
rests: all of that the core does on top. So a ratio over them says less than the truth.
"""
