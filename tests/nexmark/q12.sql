-- q12: Processing time windows.
SELECT bidder, count(*) AS bids, window_start, window_end
FROM TUMBLE((SELECT bidder, _timestamp FROM bid), _timestamp, INTERVAL '10 seconds')
GROUP BY bidder, window_start, window_end
