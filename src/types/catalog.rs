//! A type's row in `pg_type`: its OID, length and modifier.
//!
//! The numbers are PostgreSQL's own and never change. Not here: names (`name.rs`).

use super::{Opaque, PgType};

/// Type, its OID, its array type's OID (0: none), its length in bytes (-1: variable, -2: C string).
const TYPES: &[(PgType, u32, u32, i16)] = &[
    (PgType::Bool, 16, 1000, 1),
    (PgType::Bytea, 17, 1001, -1),
    (PgType::InternalChar, 18, 1002, 1),
    (PgType::Name, 19, 1003, 64),
    (PgType::Int8, 20, 1016, 8),
    (PgType::Int2, 21, 1005, 2),
    (PgType::Int4, 23, 1007, 4),
    (PgType::Regproc, 24, 1008, 4),
    (PgType::Text, 25, 1009, -1),
    (PgType::Oid, 26, 1028, 4),
    (PgType::Tid, 27, 1010, 6),
    (PgType::Xid, 28, 1011, 4),
    (PgType::Cid, 29, 1012, 4),
    (PgType::Json, 114, 199, -1),
    (PgType::Float4, 700, 1021, 4),
    (PgType::Float8, 701, 1022, 8),
    // There is no array of unknown; an array of unknown literals is text[].
    (PgType::Unknown, 705, 1009, -2),
    (PgType::Char(0), 1042, 1014, -1),
    (PgType::Varchar(None), 1043, 1015, -1),
    (PgType::Date, 1082, 1182, 4),
    (PgType::Time, 1083, 1183, 8),
    (PgType::Timestamp, 1114, 1115, 8),
    (PgType::TimestampTz, 1184, 1185, 8),
    (PgType::Interval, 1186, 1187, 16),
    (PgType::Numeric(None), 1700, 1231, -1),
    (PgType::Regclass, 2205, 2210, 4),
    (PgType::Regtype, 2206, 2211, 4),
    (PgType::Void, 2278, 0, 4),
    (PgType::Uuid, 2950, 2951, 16),
    (PgType::Jsonb, 3802, 3807, -1),
    (PgType::Regnamespace, 4089, 4090, 4),
    (PgType::Regprocedure, 2202, 2207, 4),
    (PgType::Regoper, 2203, 2208, 4),
    (PgType::Regoperator, 2204, 2209, 4),
    (PgType::Regrole, 4096, 4097, 4),
    (PgType::Regcollation, 4191, 4192, 4),
    (PgType::PgLsn, 3220, 3221, 8),
    (PgType::Xid8, 5069, 271, 8),
    (PgType::Int2Vector, 22, 1006, -1),
    (PgType::OidVector, 30, 1013, -1),
];

impl PgType {
    /// PostgreSQL's type OID (`pg_type.oid`); arrays have the OID of their array type.
    pub fn oid(&self) -> u32 {
        match self {
            PgType::Array(item) | PgType::Shaped(item) => item.array_oid(),
            scalar => scalar.oids().0,
        }
    }

    /// OID of the type of arrays of this type (`pg_type.typarray`); 0 if there is none. Arrays of arrays are arrays.
    pub fn array_oid(&self) -> u32 {
        match self {
            PgType::Array(item) | PgType::Shaped(item) => item.array_oid(),
            scalar => scalar.oids().1,
        }
    }

    /// The type without modifier that has this OID.
    pub fn from_oid(oid: u32) -> Option<PgType> {
        if oid == 0 {
            return None;
        }
        let opaque = Opaque::ALL
            .iter()
            .map(|(opaque, _, scalar, array, _)| (PgType::Opaque(*opaque), *scalar, *array));
        let listed = TYPES
            .iter()
            .map(|(scalar, scalar_oid, array_oid, _)| (scalar.clone(), *scalar_oid, *array_oid));
        listed.chain(opaque).find_map(|(scalar, scalar_oid, array_oid)| {
            if scalar_oid == oid {
                Some(scalar)
            } else if array_oid == oid {
                Some(PgType::Array(Box::new(scalar)))
            } else {
                None
            }
        })
    }

    /// `pg_attribute.atttypmod`: -1 if none.
    pub fn typmod(&self) -> i32 {
        /// Bytes of a varlena header, which PostgreSQL counts in.
        const HEADER: i32 = 4;
        match self {
            PgType::Numeric(Some((precision, scale))) => {
                ((i32::from(*precision) << 16) | (i32::from(*scale) & 0x7ff)) + HEADER
            }
            PgType::Varchar(Some(length)) => *length as i32 + HEADER,
            PgType::Char(length) if *length > 0 => *length as i32 + HEADER,
            PgType::Array(item) | PgType::Shaped(item) => item.typmod(),
            _ => -1,
        }
    }

    /// This type with the modifier that `typmod` (of `pg_attribute`, or a RowDescription) says.
    pub fn with_typmod(self, typmod: i32) -> PgType {
        if typmod < 4 {
            return self;
        }
        let value = (typmod - 4) as u32;
        match self {
            PgType::Varchar(_) => PgType::Varchar(Some(value)),
            PgType::Char(_) => PgType::Char(value),
            PgType::Numeric(_) => {
                // The scale is a signed number of 11 bits.
                let scale = ((value & 0x7ff) ^ 1024) as i32 - 1024;
                match (u8::try_from(value >> 16), i8::try_from(scale)) {
                    (Ok(precision @ 1..=38), Ok(scale)) => PgType::Numeric(Some((precision, scale))),
                    _ => PgType::Numeric(None),
                }
            }
            PgType::Array(item) => PgType::Array(Box::new(item.with_typmod(typmod))),
            PgType::Shaped(item) => PgType::Shaped(Box::new(item.with_typmod(typmod))),
            other => other,
        }
    }

    /// `pg_type.typlen`: bytes, or -1 for variable length.
    pub fn typlen(&self) -> i16 {
        match self {
            PgType::Array(_) | PgType::Shaped(_) => -1,
            scalar => scalar.oids().2,
        }
    }

    /// This type without its modifier.
    pub fn bare(&self) -> PgType {
        match self {
            PgType::Numeric(_) => PgType::Numeric(None),
            PgType::Varchar(_) => PgType::Varchar(None),
            PgType::Char(_) => PgType::Char(0),
            PgType::Array(item) => PgType::Array(Box::new(item.bare())),
            PgType::Shaped(item) => PgType::Shaped(Box::new(item.bare())),
            other => other.clone(),
        }
    }

    /// OID, the array type's OID, length.
    fn oids(&self) -> (u32, u32, i16) {
        if let PgType::Opaque(opaque) = self {
            let mut all = Opaque::ALL.iter();
            let row = all.find(|row| row.0 == *opaque).expect("the list has every one");
            return (row.2, row.3, row.4);
        }
        let row = self.row();
        (row.1, row.2, row.3)
    }

    fn row(&self) -> &'static (PgType, u32, u32, i16) {
        let bare = self.bare();
        TYPES
            .iter()
            .find(|(scalar, ..)| *scalar == bare)
            .expect("the table has every scalar type")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oids_lead_back_to_their_types() {
        for (scalar, oid, array_oid, _) in TYPES {
            assert_eq!(PgType::from_oid(*oid).as_ref(), Some(scalar));
            if *array_oid != 0 && *scalar != PgType::Unknown {
                let array = PgType::Array(Box::new(scalar.clone()));
                assert_eq!(array.oid(), *array_oid);
                assert_eq!(PgType::from_oid(*array_oid), Some(array));
            }
        }
        assert_eq!(PgType::from_oid(0), None);
        assert_eq!(PgType::from_oid(1), None);
    }

    #[test]
    fn typmods_are_postgresqls() {
        for (pg_type, typmod) in [
            (PgType::Numeric(Some((18, 2))), 1_179_654),
            (PgType::Numeric(Some((10, 0))), 655_364),
            (PgType::Varchar(Some(20)), 24),
            (PgType::Char(3), 7),
            (PgType::Array(Box::new(PgType::Varchar(Some(5)))), 9),
            (PgType::Text, -1),
            (PgType::Numeric(None), -1),
        ] {
            assert_eq!(pg_type.typmod(), typmod, "{pg_type:?}");
            assert_eq!(pg_type.bare().with_typmod(typmod), pg_type);
        }
    }
}
