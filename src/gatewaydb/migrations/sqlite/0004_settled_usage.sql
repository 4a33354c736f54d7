-- Reports over many days: once a day is over, its summaries are summed up further, by key and by route. A report reads those
-- sums, and the daily summaries themselves only of days that have none yet or were changed since.

CREATE TABLE settled_usage_by_key (
    day TEXT NOT NULL,
    api_key_id TEXT NOT NULL,
    total_requests INTEGER NOT NULL,
    unpriced_requests INTEGER NOT NULL,
    client_errors INTEGER NOT NULL,
    server_errors INTEGER NOT NULL,
    total_prompt_tokens INTEGER NOT NULL,
    total_completion_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    total_cached_tokens INTEGER NOT NULL,
    cost_microusd INTEGER NOT NULL,
    cost_rest_picousd INTEGER NOT NULL,
    last_request_at TEXT,
    PRIMARY KEY (day, api_key_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE settled_usage_by_route (
    day TEXT NOT NULL,
    route_id INTEGER NOT NULL,
    status_class INTEGER NOT NULL,
    total_requests INTEGER NOT NULL,
    unpriced_requests INTEGER NOT NULL,
    client_errors INTEGER NOT NULL,
    server_errors INTEGER NOT NULL,
    total_prompt_tokens INTEGER NOT NULL,
    total_completion_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    total_cached_tokens INTEGER NOT NULL,
    cost_microusd INTEGER NOT NULL,
    cost_rest_picousd INTEGER NOT NULL,
    last_request_at TEXT,
    PRIMARY KEY (day, route_id, status_class)
) STRICT, WITHOUT ROWID;

-- All days before this one are settled, but for those that were changed since. One row, or none.
CREATE TABLE usage_settlement (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    settled_before TEXT NOT NULL
) STRICT;

CREATE TABLE usage_unsettled_days (
    day TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Whoever changes a settled day, says so. There is one writer, so nobody needs to look at a clock.
CREATE TRIGGER daily_usage_summaries_unsettle_insert AFTER INSERT ON daily_usage_summaries
WHEN new.day < (SELECT settled_before FROM usage_settlement)
BEGIN
    INSERT INTO usage_unsettled_days (day)
    SELECT new.day WHERE NOT EXISTS (SELECT 1 FROM usage_unsettled_days WHERE day = new.day);
END;

CREATE TRIGGER daily_usage_summaries_unsettle_update AFTER UPDATE ON daily_usage_summaries
WHEN new.day < (SELECT settled_before FROM usage_settlement)
BEGIN
    INSERT INTO usage_unsettled_days (day)
    SELECT new.day WHERE NOT EXISTS (SELECT 1 FROM usage_unsettled_days WHERE day = new.day);
END;

CREATE TRIGGER daily_usage_summaries_unsettle_delete AFTER DELETE ON daily_usage_summaries
WHEN old.day < (SELECT settled_before FROM usage_settlement)
BEGIN
    INSERT INTO usage_unsettled_days (day)
    SELECT old.day WHERE NOT EXISTS (SELECT 1 FROM usage_unsettled_days WHERE day = old.day);
END;

-- What a key used of a route on a day, with the errors counted apart.
CREATE VIEW daily_usage AS
SELECT
    day, api_key_id, route_id, status_class, total_requests, unpriced_requests,
    CASE WHEN status_class = 4 THEN total_requests ELSE 0 END AS client_errors,
    CASE WHEN status_class = 5 THEN total_requests ELSE 0 END AS server_errors,
    total_prompt_tokens, total_completion_tokens, total_tokens, total_cached_tokens, cost_microusd, cost_rest_picousd,
    last_request_at
FROM daily_usage_summaries;

-- The first day that is over and not settled, or was changed since: none, or one row. Two hours spare a clock that is set
-- back.
CREATE VIEW usage_next_unsettled_day AS
SELECT day
FROM (
    SELECT min(day) AS day FROM usage_unsettled_days
    UNION ALL
    SELECT min(day) AS day FROM daily_usage_summaries
    WHERE day >= coalesce((SELECT settled_before FROM usage_settlement), '')
)
WHERE day < date('now', '-2 hours')
ORDER BY day LIMIT 1;

-- Sums up the day that is written here, which is the next one. Nobody writes summaries meanwhile: a transaction of SQLite is alone.
CREATE VIEW usage_settlements AS
SELECT settled_before AS day FROM usage_settlement;

CREATE TRIGGER usage_settlements_insert INSTEAD OF INSERT ON usage_settlements
BEGIN
    DELETE FROM settled_usage_by_key WHERE day = new.day;
    DELETE FROM settled_usage_by_route WHERE day = new.day;
    DELETE FROM usage_unsettled_days WHERE day = new.day;
    INSERT INTO settled_usage_by_key
    SELECT
        day, api_key_id, sum(total_requests), sum(unpriced_requests), sum(client_errors), sum(server_errors),
        sum(total_prompt_tokens), sum(total_completion_tokens), sum(total_tokens), sum(total_cached_tokens),
        sum(cost_microusd), sum(cost_rest_picousd), max(last_request_at)
    FROM daily_usage WHERE day = new.day GROUP BY day, api_key_id;
    INSERT INTO settled_usage_by_route
    SELECT
        day, route_id, status_class, sum(total_requests), sum(unpriced_requests), sum(client_errors), sum(server_errors),
        sum(total_prompt_tokens), sum(total_completion_tokens), sum(total_tokens), sum(total_cached_tokens),
        sum(cost_microusd), sum(cost_rest_picousd), max(last_request_at)
    FROM daily_usage WHERE day = new.day GROUP BY day, route_id, status_class;
    INSERT INTO usage_settlement (id, settled_before) VALUES (1, date(new.day, '+1 day'))
    ON CONFLICT (id) DO UPDATE SET settled_before = max(settled_before, excluded.settled_before);
END;
