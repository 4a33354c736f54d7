-- Daily summaries, so that reports need not read records, and what repeats from record to record stored once. SQLite has
-- no partitions, and keeps one table; the name of this migration is that of PostgreSQL's.

DROP TRIGGER usage_records_summarise;
DROP TRIGGER usage_records_reprice;
DROP INDEX usage_records_request;
DROP INDEX usage_records_api_key;
DROP INDEX usage_records_unpriced;
DROP INDEX usage_records_model;
ALTER TABLE usage_records RENAME TO usage_records_wide;

-- What was called and where, a row for each combination. The id is a hash of the rest, so that every writer knows it
-- without asking.
CREATE TABLE usage_routes (
    id INTEGER NOT NULL PRIMARY KEY,
    model_id TEXT,
    provider_id TEXT,
    model_name TEXT,
    endpoint TEXT
) STRICT;

INSERT INTO usage_routes (model_id, provider_id, model_name, endpoint)
SELECT DISTINCT model_id, provider_id, model_name, endpoint FROM usage_records_wide;

-- No foreign keys here: what was used stays recorded when its key or model is deleted. JSON that holds nothing is NULL.
CREATE TABLE usage_records (
    id TEXT NOT NULL PRIMARY KEY,
    api_key_id TEXT NOT NULL,
    model_id TEXT,
    request_timestamp TEXT NOT NULL,
    route_id INTEGER,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    response_time_ms INTEGER,
    price_version INTEGER,
    status_code INTEGER,
    cost_picousd INTEGER,
    cost_usd TEXT GENERATED ALWAYS AS (
        CASE WHEN cost_picousd IS NOT NULL
        THEN printf('%d.%012d', cost_picousd / 1000000000000, cost_picousd % 1000000000000) END
    ) VIRTUAL,
    request_id TEXT,
    error_message TEXT,
    request_metadata TEXT,
    response_metadata TEXT,
    billable TEXT,
    pricing_context TEXT
) STRICT;

INSERT INTO usage_records (
    id, api_key_id, model_id, request_timestamp, route_id, prompt_tokens, completion_tokens, total_tokens, cached_tokens,
    reasoning_tokens, response_time_ms, price_version, status_code, cost_picousd, request_id, error_message,
    request_metadata, response_metadata, billable, pricing_context
)
SELECT
    u.id, u.api_key_id, u.model_id, u.request_timestamp, r.id, u.prompt_tokens, u.completion_tokens, u.total_tokens,
    u.cached_tokens, u.reasoning_tokens, u.response_time_ms, u.price_version, u.status_code, u.cost_picousd, u.request_id,
    u.error_message, nullif(u.request_metadata, '{}'), nullif(u.response_metadata, '{}'), u.billable,
    nullif(u.pricing_context, '{}')
FROM usage_records_wide AS u
JOIN usage_routes AS r
    ON r.model_id IS u.model_id AND r.provider_id IS u.provider_id AND r.model_name IS u.model_name
    AND r.endpoint IS u.endpoint;

DROP TABLE usage_records_wide;

CREATE UNIQUE INDEX usage_records_request ON usage_records (api_key_id, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX usage_records_api_key ON usage_records (api_key_id, request_timestamp, id);
CREATE INDEX usage_records_unpriced ON usage_records (id) WHERE cost_picousd IS NULL;
CREATE INDEX usage_records_model ON usage_records (model_id, request_timestamp, id);

-- Records of months before this one were removed; their summaries stay. One row, or none.
CREATE TABLE usage_retention (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    pruned_before TEXT NOT NULL
) STRICT;

-- Of a month whose records were removed nobody can tell any more what is new.
CREATE TRIGGER usage_records_retain BEFORE INSERT ON usage_records
WHEN new.request_timestamp < (SELECT pruned_before FROM usage_retention)
BEGIN
    SELECT RAISE(ABORT, 'request_timestamp: usage of that time was pruned, and takes no more records');
END;

-- What a key used of a route on a day, UTC, by the hundreds of its status codes (0: none). Every report reads these. The
-- total is kept in two whole numbers, because 63 bits of picodollars end at 9.2 million dollars.
CREATE TABLE daily_usage_summaries (
    day TEXT NOT NULL,
    api_key_id TEXT NOT NULL,
    route_id INTEGER NOT NULL,
    status_class INTEGER NOT NULL,
    total_requests INTEGER NOT NULL,
    unpriced_requests INTEGER NOT NULL,
    total_prompt_tokens INTEGER NOT NULL,
    total_completion_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    total_cached_tokens INTEGER NOT NULL,
    cost_microusd INTEGER NOT NULL,
    cost_rest_picousd INTEGER NOT NULL,
    total_cost_usd TEXT GENERATED ALWAYS AS (
        printf(
            '%d.%06d%06d',
            (cost_microusd + cost_rest_picousd / 1000000) / 1000000,
            (cost_microusd + cost_rest_picousd / 1000000) % 1000000,
            cost_rest_picousd % 1000000
        )
    ) VIRTUAL,
    last_request_at TEXT,
    PRIMARY KEY (day, api_key_id, route_id, status_class)
) STRICT, WITHOUT ROWID;

CREATE INDEX daily_usage_summaries_api_key ON daily_usage_summaries (api_key_id, day);

INSERT INTO daily_usage_summaries (
    day, api_key_id, route_id, status_class, total_requests, unpriced_requests, total_prompt_tokens,
    total_completion_tokens, total_tokens, total_cached_tokens, cost_microusd, cost_rest_picousd, last_request_at
)
SELECT
    substr(request_timestamp, 1, 10), api_key_id, coalesce(route_id, 0), coalesce(status_code / 100, 0),
    count(*), count(*) - count(cost_picousd), sum(prompt_tokens), sum(completion_tokens), sum(total_tokens),
    sum(cached_tokens), coalesce(sum(cost_picousd / 1000000), 0), coalesce(sum(cost_picousd % 1000000), 0),
    max(request_timestamp)
FROM usage_records
GROUP BY 1, 2, 3, 4;

-- A day's addition moves the month's sums: what is written here is an addition to both summaries, never the sum itself.
CREATE VIEW usage_additions AS
SELECT
    day, api_key_id, route_id, status_class, total_requests, unpriced_requests, total_prompt_tokens,
    total_completion_tokens, total_tokens, total_cached_tokens, cost_microusd, cost_rest_picousd, last_request_at
FROM daily_usage_summaries;

CREATE TRIGGER usage_additions_insert INSTEAD OF INSERT ON usage_additions
BEGIN
    INSERT INTO monthly_usage_summaries (
        api_key_id, year, month, total_requests, unpriced_requests, total_prompt_tokens, total_completion_tokens,
        total_tokens, cost_microusd, cost_rest_picousd, last_request_at, updated_at
    ) VALUES (
        new.api_key_id, CAST(substr(new.day, 1, 4) AS INTEGER), CAST(substr(new.day, 6, 2) AS INTEGER),
        new.total_requests, new.unpriced_requests, new.total_prompt_tokens, new.total_completion_tokens,
        new.total_tokens, new.cost_microusd, new.cost_rest_picousd, new.last_request_at,
        strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')
    )
    ON CONFLICT (api_key_id, year, month) DO UPDATE SET
        total_requests = total_requests + excluded.total_requests,
        unpriced_requests = unpriced_requests + excluded.unpriced_requests,
        total_prompt_tokens = total_prompt_tokens + excluded.total_prompt_tokens,
        total_completion_tokens = total_completion_tokens + excluded.total_completion_tokens,
        total_tokens = total_tokens + excluded.total_tokens,
        cost_microusd = cost_microusd + excluded.cost_microusd,
        cost_rest_picousd = cost_rest_picousd + excluded.cost_rest_picousd,
        last_request_at = max(coalesce(last_request_at, ''), excluded.last_request_at),
        updated_at = excluded.updated_at;
    INSERT INTO daily_usage_summaries (
        day, api_key_id, route_id, status_class, total_requests, unpriced_requests, total_prompt_tokens,
        total_completion_tokens, total_tokens, total_cached_tokens, cost_microusd, cost_rest_picousd, last_request_at
    ) VALUES (
        new.day, new.api_key_id, new.route_id, new.status_class, new.total_requests, new.unpriced_requests,
        new.total_prompt_tokens, new.total_completion_tokens, new.total_tokens, new.total_cached_tokens,
        new.cost_microusd, new.cost_rest_picousd, new.last_request_at
    )
    ON CONFLICT (day, api_key_id, route_id, status_class) DO UPDATE SET
        total_requests = total_requests + excluded.total_requests,
        unpriced_requests = unpriced_requests + excluded.unpriced_requests,
        total_prompt_tokens = total_prompt_tokens + excluded.total_prompt_tokens,
        total_completion_tokens = total_completion_tokens + excluded.total_completion_tokens,
        total_tokens = total_tokens + excluded.total_tokens,
        total_cached_tokens = total_cached_tokens + excluded.total_cached_tokens,
        cost_microusd = cost_microusd + excluded.cost_microusd,
        cost_rest_picousd = cost_rest_picousd + excluded.cost_rest_picousd,
        last_request_at = max(coalesce(last_request_at, ''), excluded.last_request_at);
END;

-- While its one row is there, whoever inserts sums up by himself what comes after this rowid: for many records that is
-- quicker than a trigger for each. The row never survives the transaction that made it.
CREATE TABLE usage_bulk (
    after_rowid INTEGER NOT NULL
) STRICT;

-- What was inserted is in the summaries before the statement ends, whoever made it; what a conflict left out fires no
-- trigger and counts nowhere.
CREATE TRIGGER usage_records_summarise AFTER INSERT ON usage_records
WHEN NOT EXISTS (SELECT 1 FROM usage_bulk)
BEGIN
    INSERT INTO usage_additions VALUES (
        substr(new.request_timestamp, 1, 10), new.api_key_id, coalesce(new.route_id, 0),
        coalesce(new.status_code / 100, 0), 1, new.cost_picousd IS NULL, new.prompt_tokens, new.completion_tokens,
        new.total_tokens, new.cached_tokens, coalesce(new.cost_picousd / 1000000, 0),
        coalesce(new.cost_picousd % 1000000, 0), new.request_timestamp
    );
END;

-- A record that is changed, as when it is priced anew, moves the sums in the same statement. What is deleted stays in the
-- sums: they outlive the records.
CREATE TRIGGER usage_records_resummarise AFTER UPDATE ON usage_records
BEGIN
    INSERT INTO usage_additions VALUES (
        substr(old.request_timestamp, 1, 10), old.api_key_id, coalesce(old.route_id, 0),
        coalesce(old.status_code / 100, 0), -1, -(old.cost_picousd IS NULL), -old.prompt_tokens,
        -old.completion_tokens, -old.total_tokens, -old.cached_tokens, -coalesce(old.cost_picousd / 1000000, 0),
        -coalesce(old.cost_picousd % 1000000, 0), old.request_timestamp
    );
    INSERT INTO usage_additions VALUES (
        substr(new.request_timestamp, 1, 10), new.api_key_id, coalesce(new.route_id, 0),
        coalesce(new.status_code / 100, 0), 1, new.cost_picousd IS NULL, new.prompt_tokens, new.completion_tokens,
        new.total_tokens, new.cached_tokens, coalesce(new.cost_picousd / 1000000, 0),
        coalesce(new.cost_picousd % 1000000, 0), new.request_timestamp
    );
END;
