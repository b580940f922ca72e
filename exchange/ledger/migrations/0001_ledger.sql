-- The ledger of one or more markets. Every row is a function of the journal up to curb.progress,
-- except curb.words, which holds the names of the closed lists for whoever reads with SQL.
-- Money is whole nano-dollars (n$), times are nanoseconds since the Unix epoch.

CREATE TABLE curb.progress (
    market      bigint PRIMARY KEY,
    position    bigint NOT NULL CHECK (position >= 0),   -- in the journal, everything before is here
    next_seq    bigint NOT NULL CHECK (next_seq >= 1)    -- number of the next command
);

-- Members by role and handle; a name may be registered again and then stands for its last group.
CREATE TABLE curb.participants (
    market      bigint  NOT NULL,
    role        text    NOT NULL CHECK (role IN ('buyer', 'operator')),
    handle      bigint  NOT NULL CHECK (handle > 0),
    name        text    NOT NULL,
    owner_group text    NOT NULL,
    seq         bigint  NOT NULL,                        -- of the last registration
    PRIMARY KEY (market, role, handle),
    UNIQUE (market, role, name)
);

-- Everything else that has a name: site, model, metro, adapter, deal, campaign. `owner` is the handle
-- of the operator (site, deal), the buyer (campaign) or the model (adapter), else 0.
CREATE TABLE curb.names (
    market      bigint  NOT NULL,
    kind        text    NOT NULL,
    handle      bigint  NOT NULL CHECK (handle > 0),
    name        text    NOT NULL,
    owner       bigint  NOT NULL,
    country     text    NOT NULL,                        -- of a site, '' unknown
    tier        text    NOT NULL,                        -- of a site
    seq         bigint  NOT NULL,
    PRIMARY KEY (market, kind, handle)
);

-- Closed lists (hardware, tier, …): the number in a row, and its name.
CREATE TABLE curb.words (
    list        text     NOT NULL,
    number      smallint NOT NULL,
    name        text     NOT NULL,
    PRIMARY KEY (list, number)
);

-- account = 8 × handle of the member + kind (exchange/ledger/accounts.py).
CREATE TABLE curb.accounts (
    market      bigint      NOT NULL,
    account     bigint      NOT NULL,
    kind        text        NOT NULL,
    handle      bigint      NOT NULL,
    balance     numeric(40) NOT NULL,
    PRIMARY KEY (market, account),
    -- Only the world outside may owe: what is in the market was paid in.
    CONSTRAINT nobody_overdraws CHECK (balance >= 0 OR kind = 'outside')
);

-- Double entry, netted per span of 65,536 commands and pair of accounts: what `account` gained from
-- `counter` in the span. A row stands for every pair that the span touched, also when it nets to 0.
CREATE TABLE curb.postings (
    market      bigint      NOT NULL,
    span        bigint      NOT NULL CHECK (span >= 0),  -- seq / 65,536
    account     bigint      NOT NULL,
    counter     bigint      NOT NULL CHECK (counter <> account),
    amount      numeric(40) NOT NULL,
    mirror      numeric(40) NOT NULL GENERATED ALWAYS AS (-amount) STORED,
    PRIMARY KEY (market, span, account, counter),
    UNIQUE (market, span, account, counter, amount),
    FOREIGN KEY (market, account) REFERENCES curb.accounts DEFERRABLE INITIALLY DEFERRED,
    -- What one gains the other loses: every posting has its mirror image when a transaction ends, so
    -- the postings of any span, and all of them, sum to zero.
    CONSTRAINT every_posting_has_its_mirror
        FOREIGN KEY (market, span, counter, account, mirror)
        REFERENCES curb.postings (market, span, account, counter, amount)
        DEFERRABLE INITIALLY DEFERRED
);

CREATE FUNCTION curb.books_must_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    off record;
BEGIN
    SELECT market, sum(balance) AS total INTO off
        FROM curb.accounts GROUP BY market HAVING sum(balance) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'accounts of market % sum to % n$ and not to zero', off.market, off.total
            USING ERRCODE = 'check_violation', CONSTRAINT = 'books_balance';
    END IF;
    RETURN NULL;
END $$;

-- After every statement, so no statement may leave the accounts unbalanced, whoever gives it.
CREATE TRIGGER books_balance AFTER INSERT OR UPDATE OR DELETE ON curb.accounts
    FOR EACH STATEMENT EXECUTE FUNCTION curb.books_must_balance();

CREATE TABLE curb.transfers (
    market      bigint NOT NULL,
    seq         bigint NOT NULL,
    at_ns       bigint NOT NULL,
    role        text   NOT NULL CHECK (role IN ('buyer', 'operator')),
    member      bigint NOT NULL,                         -- handle
    transfer    bigint NOT NULL,                         -- the sender's number, increasing per account
    amount      bigint NOT NULL CHECK (amount <> 0),     -- a withdrawal is negative
    PRIMARY KEY (market, seq),
    UNIQUE (market, role, member, transfer)
);

-- One row per fill, as the exchange knows it: who may see which column is decided by whoever shows it.
CREATE TABLE curb.fills (
    market      bigint   NOT NULL,
    day         date     NOT NULL,                       -- of at_ns, in UTC
    fill        bigint   NOT NULL,
    seq         bigint   NOT NULL,
    index       integer  NOT NULL,
    at_ns       bigint   NOT NULL,
    buyer       bigint   NOT NULL,
    agent       integer  NOT NULL,
    bid         bigint   NOT NULL,
    unit        integer  NOT NULL,
    operator    bigint   NOT NULL,
    site        bigint   NOT NULL,
    offer       integer  NOT NULL,
    ordinal     bigint   NOT NULL,
    model       bigint   NOT NULL,
    campaign    bigint   NOT NULL,
    origin      bigint   NOT NULL,
    adapter     bigint   NOT NULL,
    hardware    smallint NOT NULL,
    precision   smallint NOT NULL,
    contract    smallint NOT NULL,
    tier        smallint NOT NULL,
    band        smallint NOT NULL,
    country     text     NOT NULL,                       -- '--' unknown
    cold        boolean  NOT NULL,
    contested   boolean  NOT NULL,
    has_rival   boolean  NOT NULL,
    resting     boolean  NOT NULL,
    tokens_in   integer  NOT NULL,
    tokens_out  integer  NOT NULL,
    price       bigint   NOT NULL CHECK (price >= 0),
    cost        bigint   NOT NULL,
    score       bigint   NOT NULL,
    rival_score bigint   NOT NULL,                       -- 0 where has_rival is false
    latency_us  bigint   NOT NULL,
    lease_until bigint   NOT NULL,
    PRIMARY KEY (market, day, fill),
    CHECK (day - DATE '1970-01-01' = at_ns / 86400000000000),
    CHECK (cost <= price)
) PARTITION BY RANGE (day);
CREATE INDEX ON curb.fills USING brin (seq);

-- How each fill ended: settled, released (by = '') or declined (by = the reason).
CREATE TABLE curb.settlements (
    market      bigint   NOT NULL,
    day         date     NOT NULL,
    fill        bigint   NOT NULL,
    seq         bigint   NOT NULL,
    index       integer  NOT NULL,
    at_ns       bigint   NOT NULL,
    outcome     smallint NOT NULL,                       -- list 'event'
    reason      smallint NOT NULL,                       -- settled: list 'settled_by'; declined: 'decline'
    buyer       bigint   NOT NULL,
    operator    bigint   NOT NULL,
    price       bigint   NOT NULL,
    paid        bigint   NOT NULL CHECK (paid >= 0),
    fee         bigint   NOT NULL CHECK (fee >= 0),
    earned      bigint   NOT NULL CHECK (earned >= 0),
    withheld    bigint   NOT NULL CHECK (withheld >= 0),
    refund      bigint   NOT NULL CHECK (refund >= 0),
    PRIMARY KEY (market, day, fill),
    CHECK (day - DATE '1970-01-01' = at_ns / 86400000000000),
    CHECK (paid = fee + earned + withheld),
    CHECK (refund = price - paid)
) PARTITION BY RANGE (day);
CREATE INDEX ON curb.settlements USING brin (seq);

CREATE TABLE curb.disputes (
    market          bigint  NOT NULL,
    fill            bigint  NOT NULL,
    seq             bigint  NOT NULL,
    index           integer NOT NULL,
    at_ns           bigint  NOT NULL,
    buyer           bigint  NOT NULL,
    operator        bigint  NOT NULL,
    buyer_figure    bigint  NOT NULL,
    operator_figure bigint  NOT NULL,
    PRIMARY KEY (market, fill)
);

-- For people: names instead of handles.
CREATE VIEW curb.balances AS
    SELECT a.market, a.kind, coalesce(p.name, '') AS member, a.balance AS balance_nusd
    FROM curb.accounts a
    LEFT JOIN curb.participants p ON p.market = a.market AND p.handle = a.handle
        AND p.role = CASE WHEN a.kind IN ('available', 'held') THEN 'buyer'
                          WHEN a.kind = 'balance' THEN 'operator' END;

CREATE VIEW curb.fills_named AS
    SELECT f.market, f.fill, f.day, to_timestamp(f.at_ns / 1e9) AS at, b.name AS buyer,
        o.name AS operator, s.name AS site, f.offer, m.name AS model, h.name AS hardware,
        nullif(f.country, '--') AS country, t.name AS tier, f.tokens_in, f.tokens_out,
        f.price AS price_nusd, f.contested, f.resting,
        CASE WHEN f.has_rival THEN f.rival_score END AS rival_score, x.name AS outcome,
        e.paid AS paid_nusd, e.earned AS earned_nusd
    FROM curb.fills f
    LEFT JOIN curb.participants b ON (b.market, b.role, b.handle) = (f.market, 'buyer', f.buyer)
    LEFT JOIN curb.participants o
        ON (o.market, o.role, o.handle) = (f.market, 'operator', f.operator)
    LEFT JOIN curb.names s ON (s.market, s.kind, s.handle) = (f.market, 'site', f.site)
    LEFT JOIN curb.names m ON (m.market, m.kind, m.handle) = (f.market, 'model', f.model)
    LEFT JOIN curb.words h ON (h.list, h.number) = ('hardware', f.hardware)
    LEFT JOIN curb.words t ON (t.list, t.number) = ('tier', f.tier)
    LEFT JOIN curb.settlements e ON (e.market, e.fill) = (f.market, f.fill)
    LEFT JOIN curb.words x ON (x.list, x.number) = ('event', e.outcome);
