-- q5: Hot items.
SELECT bids.auction, bids.num, bids.window_start, bids.window_end
FROM (
    SELECT auction, count(*) AS num, window_start, window_end
    FROM HOP(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds')
    GROUP BY auction, window_start, window_end
) AS bids
JOIN (
    SELECT max(counts.num) AS most, counts.window_start, counts.window_end
    FROM (
        SELECT count(*) AS num, window_start, window_end
        FROM HOP(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds')
        GROUP BY auction, window_start, window_end
    ) AS counts
    GROUP BY counts.window_start, counts.window_end
) AS top
ON bids.window_start = top.window_start AND bids.window_end = top.window_end AND bids.num >= top.most
