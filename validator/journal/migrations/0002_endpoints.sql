-- What each RPC endpoint was found to bear, by its key: blocks a log query, and how many good ones before more is tried.
-- About endpoints, not about blocks: a rollback keeps it.
CREATE TABLE endpoints (
    endpoint    TEXT PRIMARY KEY,
    blocks      INTEGER NOT NULL,
    patience    INTEGER NOT NULL
) WITHOUT ROWID;
