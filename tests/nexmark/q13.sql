-- q13: Bounded side input.
SELECT b.auction, b.bidder, b.price, b.date_time, s.value
FROM (SELECT *, mod(auction, 1000) AS number FROM bid) AS b JOIN side_input AS s ON b.number = s.key
